"""Sessions: tokens, records and revocations, and the verbs on them.

`sessions` < `events`, `verbs` < `touches`, `presentation` < `revoker` < `revocation_log` < `revocations` < `records` <
`logins`, `tokens`, `user_keys`, `tickets`, `policies`, `validation`
"""
