"""One evaluation, from items to stored results.

run (evaluate) -> options, subject (which model), task (prompts of a suite) -> reuse (stored results), or request_queue
with generation_cache -> task: grade, metrics, provenance -> results. regrade, regrade_cli,
regrade_show: stored samples again.
"""
