"""Servers that this process starts, supervises and stops.

locators            start the servers when a store first asks for them
server              one server: its settings, its start, its data folder
sentinel_cluster    a primary, two replicas and three Sentinels      sentinel_config   their settings files
supervisor          the owner's end                                  supervisor_process   the parent of the servers
blocking_client     one call to one server
"""
