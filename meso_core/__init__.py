"""meso_core: the science and the storage of two-photon mesoscope sessions. Never imports dagster."""
