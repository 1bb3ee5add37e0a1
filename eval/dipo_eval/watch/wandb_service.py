"""wandb in a bounded time: whether its service answers, and a run that is offline where it does not.

wandb itself waits 90 seconds for its service, and then has no run at all.
"""

from __future__ import annotations

import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

from dipo_eval.errors import one_line

ANSWER_SECONDS = 5.0  # of the service
INIT_SECONDS = 15.0  # of wandb's own wait, which its retries nearly double

Found = TypeVar("Found")


def within(seconds: float, call: Callable[[], Found]) -> Found:
    """What `call` returns. Raises what it raises, and TimeoutError after `seconds`, when a thread is left behind."""
    found: list[Found] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not found:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return found[0]


def init(say: Callable[[str], None], **options: Any) -> Any:
    """`wandb.init`, or an offline run where the service does not take it: `say` gets one line with the remedy then.

    Nothing is said where the user has asked for that (WANDB_MODE). Raises what wandb raises.
    """
    import wandb

    if os.environ.get("WANDB_MODE", "online") not in ("", "online", "shared"):
        return wandb.init(settings=_settings(), **options)
    try:
        address = str(wandb.setup().settings.base_url)
        within(2 * ANSWER_SECONDS, lambda: _ask(address))
        return within(4 * INIT_SECONDS, lambda: wandb.init(settings=_settings(), **options))
    except Exception as error:  # no network, no key, a key that is not valid
        why = one_line(error)
    run = wandb.init(mode="offline", settings=_settings(), **options)
    say(
        f"wandb cannot log now ({why}); what it gets is kept: `wandb sync {run.settings.sync_dir}` sends it later"
    )
    return run


def _settings() -> Any:
    """No patch of uncommitted changes, no remote with its user's name, no copy of the script."""
    import wandb

    return wandb.Settings(console="off", disable_git=True, save_code=False, init_timeout=INIT_SECONDS)


def _ask(address: str) -> None:
    """Any answer will do. Raises OSError."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        pass
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # else wandb may trust another authority
            raise
