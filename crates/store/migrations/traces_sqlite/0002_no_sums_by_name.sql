-- The name of a trace may be what somebody said, and is another for each trace: days are no longer summed by it.
DELETE FROM daily_metrics WHERE dimension = 'name';
