# The plug-in's own tests are run where it is installed, by test_plugin.py.
collect_ignore = ["qengine-lite"]
