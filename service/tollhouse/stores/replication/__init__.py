"""What a store does about the primary and its replicas.

watch          stops trusting a primary that no replica acknowledges
primary_names  what the primary is called, so that no cached value outlives it
"""
