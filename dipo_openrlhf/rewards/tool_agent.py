"""The agent that OpenRLHF loads by path: ``--train.agent_func_path .../rewards/tool_agent.py``.

A row's label is a JSON object that names one of dipo_openrlhf/environments and is its task. For an environment of your
own in a file: ``AgentExecutor = agent_for(MyEnvironment)`` at its end, and ``train.agent_func_path`` names that file.
What an episode is: episode.py.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from dipo_openrlhf.environments.environment import Environment, check_environment
from dipo_openrlhf.rewards.episode import Episodes

__all__ = ["AgentExecutor", "agent_for"]


def agent_for(environment: type[Environment] | None = None) -> type:
    """An AgentExecutor for episodes of one environment; None: of those that labels name.

    To be called in the agent's own file, which every worker process loads. Raises UserError for what is no environment.
    """
    agent = None
    if environment is not None:
        check_environment(environment)
        agent = os.path.abspath(sys._getframe(1).f_globals["__file__"])
    # OpenRLHF demands its own base class, and has imported it where it loads this file. The processes of
    # environments load it too, and need nothing of OpenRLHF.
    loaded = sys.modules.get("openrlhf.utils.agent")
    base: Any = loaded.AgentExecutorBase if loaded else object

    class AgentExecutor(base):
        """Runs the episodes of a rollout engine."""

        def __init__(self) -> None:
            self.episodes = Episodes(environment, agent)

        async def execute(
            self, prompt: str, label: Any, sampling_params: Any, max_length: int, hf_tokenizer: Any, llm_engine: Any,
            images: Any = None,
        ) -> dict[str, Any]:  # fmt: skip
            """One episode, as OpenRLHF takes it."""
            return await self.episodes.run(
                prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine
            )

    AgentExecutor.environment = environment
    return AgentExecutor


AgentExecutor = agent_for()
