"""Published alternatives, written from facts: each answers as the stage that it replaces."""
