"""Stories of the desk, told in a browser on a whole running cardwatch."""
