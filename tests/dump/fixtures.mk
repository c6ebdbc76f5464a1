$(B)/tests/dump_test: | $(B)/bin/fiberprof $(addprefix $(B)/tests/programs/,every_wait many_parked parked rounds crashes thread_waits)
