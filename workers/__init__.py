"""The worker's side: it fetches jobs, meters them and runs their stages. May use torch; web code never imports it."""

import os

# OpenMP threads that wait by spinning burn energy, and stall each other as soon as anything else wants a core: a
# training step was measured five times slower so. Read once, when torch is loaded, so it must be set before that.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
