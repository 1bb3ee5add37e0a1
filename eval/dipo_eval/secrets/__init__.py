"""What is a secret, and how none gets out: the one home for the launchers, the training, the results and the board.

`names` tells a secret by its name, `urls` finds credentials in addresses, `values` collects the secret values of an
environment, `masking` takes them out of what is shown, `refusing` stops what is about to be sent or written, and
`file` reads the keys of a file of the user's own.
"""
