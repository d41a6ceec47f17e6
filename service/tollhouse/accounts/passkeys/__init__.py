"""Passkeys (W3C Web Authentication, Level 3): a key pair on a user's device, whose private half never leaves it.

passkey.py        what is stored of one
relying_party.py  who asks for them: a domain and its origins, as the settings say
challenges.py     what an authenticator signs: nothing is stored until one is spent
options.py        what a page gives its browser
answers.py        what a browser answers, taken apart within bounds
ceremonies.py     whether an answer is right: the only module that needs the package `webauthn`
"""
