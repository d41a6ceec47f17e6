"""What processes and event loops demand of long-lived objects.

forks       what a forked child must forget
home_loop   the event loop that an object belongs to
"""
