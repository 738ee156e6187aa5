"""Roads that the hub has by itself: every page that is open, and lamps, shakers and wristbands by MQTT."""
