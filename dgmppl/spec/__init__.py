"""The language's front end: text or Python objects -> `Spec`."""
