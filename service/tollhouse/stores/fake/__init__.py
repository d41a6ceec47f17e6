"""The stores behind `fake://`: fakeredis inside this process, for tests of apps.

store    one logical database                      subscription  what a store listens to
server   what the stores of one name share         clock         its time, which tests may stop and advance
"""
