$(B)/tests/deadlock_test: | $(B)/bin/fiberprof $(B)/tests/programs/suspicious
