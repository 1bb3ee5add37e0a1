"""Run-time changes with which OpenRLHF's loop runs on CPU."""
