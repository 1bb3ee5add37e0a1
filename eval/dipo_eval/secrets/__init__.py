"""What is a secret, and how none gets out: for the launchers, the training, the results and the board.

`names` recognises the name of a secret, `urls` finds credentials in addresses, `values` collects the secret values of
an environment, `masking` replaces them in what is shown (`errors`: in errors), `refusing` stops what is about to be
sent or written, and `file` reads the user's file of keys.
"""
