"""What processes and event loops demand of long-lived objects.

background  work that its caller does not wait for
collector   the search for cyclic garbage, tuned for a process that serves
garbage     decoders beside the search for cyclic garbage
functions   functions of an application, in every form
forks       what a forked child must forget
home_loop   the event loop that an object belongs to
receiver    what stands in the place of a future
"""
