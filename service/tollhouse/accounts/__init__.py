"""Accounts: names, passwords, sign-up and login, over sessions and limits.

accounts     Accounts, with one method for each verb    outcomes     what they return
login_client who attempts a verb                        rules        what a new password may be; blocklist, weak ones
names        what a name may be; characters, of scripts  hashing      Argon2id in bounded threads
credentials  what is stored of an account               throttling   how often may be guessed
factors      one-time passwords, recovery codes         passkeys     key pairs on users' devices
verbs        one module for each verb of `Accounts`
"""
