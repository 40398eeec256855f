package io.mobilemod.core.harness

/**
 * The loaded models of a process: at any time those of one owner, of one number of threads.
 *
 * ExecuTorch keeps one pool of threads for the process and replaces it when a model is loaded with
 * another number of them, though models that are loaded already still hold the old one. So what is open
 * is closed before such a load, and an engine that was closed throws instead of running.
 */
class EngineHolder(
    private val load: (LoadRequest) -> Engine,
) {
    private val open = ArrayList<Held>()

    /**
     * Loads a model for [owner]; closes those of other owners and of another number of threads first,
     * each after the inference that it is at. What [load] throws leaves this one not loaded.
     */
    @Synchronized
    fun open(
        owner: Any,
        request: LoadRequest,
    ): Engine {
        close { it.owner !== owner || it.threads != request.threads }
        return Held(load(request), owner, request.threads).also(open::add)
    }

    /** Closes what [owner] has open. */
    @Synchronized
    fun closeAll(owner: Any) = close { it.owner === owner }

    private fun close(which: (Held) -> Boolean) = open.filter(which).forEach { it.close() }

    private inner class Held(
        private val engine: Engine,
        val owner: Any,
        val threads: Int,
    ) : Engine by engine {
        private var closed = false
        private val use = Any()

        override fun run(input: FloatArray): FloatArray =
            synchronized(use) {
                check(!closed) { "the model was unloaded" }
                engine.run(input)
            }

        // The holder's lock first, as in `open`; a run takes its own alone.
        override fun close() =
            synchronized(this@EngineHolder) {
                synchronized(use) {
                    open.remove(this)
                    if (!closed) engine.close()
                    closed = true
                }
            }
    }
}

/** What [make] gives; where it throws, this is closed and what it threw goes on. */
inline fun <T> AutoCloseable.orClosed(make: () -> T): T =
    try {
        make()
    } catch (error: Throwable) {
        close()
        throw error
    }
