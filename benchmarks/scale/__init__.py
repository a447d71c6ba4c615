"""Many sessions on a cluster: what is simulated, and what it is measured with.

``plan`` has the steps of a session and what each needs, as meso itself says; ``clock`` plays a cluster; ``engines``
runs real sessions on real engines, whose science is left out; ``job`` stands in for the Python of their jobs, and
``told`` reads what those have taken.
"""
