"""Published alternatives to hdrvideo's nets, as drop-ins for its stages."""
