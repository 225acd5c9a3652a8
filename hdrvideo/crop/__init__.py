"""Where the hands are, which hand is which, and the crop with its way back."""
