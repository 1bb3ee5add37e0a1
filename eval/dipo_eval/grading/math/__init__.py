"""Is this mathematical answer the gold answer's value? The modules in the order in which an answer meets them:

* ``extract``: the final answer in a response, the last box or else a stated answer;
* ``normalize``: the answer and the gold without layout, with one spelling for synonyms;
* ``answer_parts``: each of them as a list, tuple, interval, set, union or matrix of single answers;
* ``compare_parts``: parts paired with gold parts, in order or in any order;
* ``compare_single``: one answer and one gold: numbers, units, words, choices, equations;
* ``quantity``: the exact number, unit, percent sign or base in one of them;
* ``compare_closed_forms``: the values of two closed forms, with ``expression`` (LaTeX to a tree) and ``evaluate``
  (a tree to a rational or floating-point number);
* ``symbolic``: what these leave open, at 60 digits or by math-verify, in a worker process;
* ``grade``: all of it, from a response to a verdict, and the check of gold answers before a run.
"""
