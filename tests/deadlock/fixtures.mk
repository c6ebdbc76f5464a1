$(B)/tests/deadlock_test: | $(B)/bin/fiberprof $(B)/tests/programs/suspicious $(B)/tests/programs/goker \
    $(B)/tests/programs/heaped $(B)/tests/programs/many_parked
