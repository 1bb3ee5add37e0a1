"""Is this mathematical answer the gold answer's value? The modules in the order in which an answer meets them:

* ``extract``: the final answer in a response: ``boxes``, then ``stated`` answers;
* ``normalize``: the answer and the gold in one spelling, with ``layout`` off and the symbols of ``notation``;
* ``peel``: words, labels, currencies and conditions around a value;
* ``answer_parts``: a list, tuple, interval, set, union or matrix of single answers, and ``real_sets`` in other words;
* ``compare_parts``: parts paired with gold parts, in order or in any order;
* ``compare_single``: one answer and one gold: numbers, units, words, choices, and the ``equations`` around them;
* ``quantity``: the exact number, unit, percent sign or base in one of them, with ``number_words``;
* ``notations``: times, ratios and constants of integration;
* ``compare_closed_forms``: the values of two closed forms, with ``expression`` (LaTeX to a tree) and ``evaluate``
  (a tree to a rational or floating-point number);
* ``symbolic``: what these leave open, at 60 digits or by math-verify, in a worker process;
* ``grade``: all of it, from a response to a verdict, and the check of gold answers before a run.
"""
