"""Training of every net: one plain resumable loop (``loop``), and what each net is taught with."""
