"""The commands of `tollhouse`, one module each.

commands                                   all of them together, and what their errors come to
cache, check, demo, drill, limits, serve   a command or a group of commands
accounts, sessions                         groups of commands, in folders of their own
cache_output, limits_output                tables and sentences of `cache` and `limits`
query                                      how commands use the stores of the settings or of the service
service_file                               how commands find the service that runs
tour                                       the steps of `demo`
"""
