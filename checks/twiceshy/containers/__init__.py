"""Container engines: what they say, how they are asked, how often a container restarted."""
