package io.mobilemod.core.harness

import io.mobilemod.core.hex
import java.security.SecureRandom

/** A name for a start of a job: 16 random hex digits. */
fun newRun(): String = ByteArray(8).also { SecureRandom().nextBytes(it) }.hex()

/** Writes one run's lines: numbers them, times them, checks them. */
class Stream(
    private val sink: LineSink,
    private val job: String,
    private val run: String,
    private val nanos: () -> Long,
) {
    private val start = nanos()
    private var seq = 0L

    /** Image lines of this run. */
    var answered = 0
        private set

    /** Timed values of this run. */
    var timed = 0
        private set

    /** Error lines of this run. */
    var errors = 0
        private set

    /** Seconds since the run's start. */
    fun seconds(at: Long = nanos()): Double = (at - start) / NANOS

    /** Writes a line of [type]. */
    fun write(
        type: String,
        vararg members: Pair<String, Any?>,
    ) {
        if (type == "image") answered++
        if (type == "error") errors++
        val head = linkedMapOf<String, Any?>("type" to type, "job" to job, "run" to run, "seq" to seq++, "t" to seconds())
        sink.write(Lines.encode(head + members))
    }

    /** Writes an `error`; [where] is a word, [message] for people. */
    fun error(
        where: String,
        message: String,
        configuration: Int? = null,
        image: Int? = null,
        fatal: Boolean = false,
    ) = write(
        "error",
        "where" to where,
        "message" to message.take(LONGEST_MESSAGE),
        "configuration" to configuration,
        "image" to image,
        "fatal" to fatal,
    )

    /** Collects a phase's times and writes them in lines of up to 64 values, none older than a second. */
    inner class Times(
        private val configuration: Int,
        private val phase: String,
    ) {
        private val ms = ArrayList<Double>()
        private val at = ArrayList<Double>()
        private var first = 0

        /** Adds a value that began at [began], in [nanos]. */
        fun add(
            began: Long,
            milliseconds: Double,
        ) {
            ms.add(milliseconds)
            at.add(seconds(began))
            timed++
            if (ms.size == LONGEST_SERIES || seconds() - at[0] > OLDEST) flush()
        }

        /** How many values there were. */
        val count: Int get() = first + ms.size

        /** Writes what isn't yet. */
        fun flush() {
            if (ms.isEmpty()) return
            write(
                "times",
                "configuration" to configuration,
                "phase" to phase,
                "first" to first,
                "ms" to ms.toList(),
                "at" to at.toList(),
            )
            first += ms.size
            ms.clear()
            at.clear()
        }
    }

    private companion object {
        const val NANOS = 1e9
        const val LONGEST_SERIES = 64
        const val OLDEST = 1.0
        const val LONGEST_MESSAGE = 2000
    }
}
