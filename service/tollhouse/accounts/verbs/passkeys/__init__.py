"""What users do with passkeys: `passkeys` has one method for each verb, `check` is what those that use one share."""
