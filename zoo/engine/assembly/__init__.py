"""From a configuration to a job: names to components, data and network read and checked."""
