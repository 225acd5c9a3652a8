"""The field's data sets, as their own files have them: one file a set, one sample type for all.

Ground: imports no stage, no net. ``registry.py`` has the names, ``docs/datasets.md`` says how to
get each set and what its folder must look like.
"""
