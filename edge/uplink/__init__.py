"""The mouth: outbox → MQTT. Start at `service.run`. Empty on purpose: reading a config must not import paho."""
