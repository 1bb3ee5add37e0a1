"""The methods, DiPO among them. Adding one file NAME.py here adds one method; nothing else is edited.

The file defines `METHOD`, a `dipo_openrlhf.algorithm.method.Method` whose name is NAME, and cites its source. The
switches of `Method` are honoured wherever they apply, for any method: by the reference trainer, the recipe's defaults
and checks, sampling, the actor and the experience maker. Files whose names begin with `_` are no methods.
"""

from dipo_openrlhf.algorithm.method import Method, Rollout, get, names

__all__ = ["Method", "Rollout", "get", "names"]
