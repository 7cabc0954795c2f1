"""The only home of Ray: settings, command line, driver, workers and job submission."""
