"""Are these function calls those that were required? By BFCL's rules, ``strict`` or ``compatible`` with bfcl-eval.

* ``grade``: a response of a single-turn category, from its text to a verdict, and the check of gold calls;
* ``response_text``: the answer in a response, and calls in JSON; ``python_calls``, ``java_calls``: calls in a language;
* ``strict`` and ``official``: the two verdicts on calls that were read, with ``strict_literals`` and
  ``official_literals`` for arguments in Java and JavaScript;
* ``multi_turn``: one step of a conversation, and the verdict on all of it; in a worker process, ``messages`` reads its
  calls and ``replay`` carries them out on BFCL's environments;
* ``bfcl``: the categories, and all that is used of the package bfcl-eval.
"""
