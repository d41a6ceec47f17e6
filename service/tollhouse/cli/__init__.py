"""The commands of `tollhouse`, one module each.

commands                            all of them together, and what their errors come to
check, demo, drill, limits, serve   a command or a group of commands
limits_output                       tables and sentences of `limits`
service_file                        how commands find the service that runs
tour                                the steps of `demo`
"""
