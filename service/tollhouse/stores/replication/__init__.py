"""What a store does about the replicas of its primary.

watch   stops trusting a primary that none of them acknowledges
"""
