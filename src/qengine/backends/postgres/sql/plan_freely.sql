-- For the rest of a transaction: plan for the parameters at hand, with every kind of plan (see TUNED in connection.py).
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', 'on', true);
