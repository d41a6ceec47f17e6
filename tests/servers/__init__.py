"""Every server that people have: one table of servers, accounts and checks, and the page docs/servers.md made from it.

catalog   the servers, how each is found, the checks, and what each cell of the page says
accounts  the accounts with few rights, and what each of them loses
checks    what is done on a server, through the library
install   puts the servers that are packages into folders of their own: `make test-servers`
page      writes docs/servers.md
"""
