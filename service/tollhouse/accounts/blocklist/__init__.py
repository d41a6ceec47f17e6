"""What a new password may not be: common, leaked, a pattern, or made of names.

`weakness` judges a password; `pieces` finds in it what an attacker tries first, with the words of `words` and the
patterns of `patterns`, in the spelling of `folding`. `filter_file` reads a file of passwords that is too large for
memory, and `filter_builder` writes one. `data/` has what the package brings.
"""
