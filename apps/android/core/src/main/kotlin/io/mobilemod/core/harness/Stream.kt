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

    /** One configuration's values of a phase, written in lines. */
    inner class Times(
        private val configuration: Int,
        private val phase: String,
    ) {
        private val values = ArrayList<Double>()
        private val at = ArrayList<Double>()
        private var written = 0

        /** Milliseconds so far. */
        val ms: List<Double> get() = values

        /** Whether what isn't written fills a line, or spans more than a second. */
        val isDue: Boolean
            get() =
                values.size > written &&
                    (values.size - written >= LONGEST_SERIES || at.last() + values.last() / MS_PER_S - at[written] > LONGEST_SPAN)

        /** Adds a value that began at [began], in [nanos]. */
        fun add(
            began: Long,
            milliseconds: Double,
        ) {
            values.add(milliseconds)
            at.add(seconds(began))
            timed++
        }

        /** Writes what isn't yet. */
        fun flush() {
            if (values.size == written) return
            write(
                "times",
                "configuration" to configuration,
                "phase" to phase,
                "first" to written,
                "ms" to values.drop(written),
                "at" to at.drop(written),
            )
            written = values.size
        }
    }

    private companion object {
        const val NANOS = 1e9
        const val LONGEST_SERIES = 64
        const val LONGEST_SPAN = 1.0
        const val MS_PER_S = 1e3
        const val LONGEST_MESSAGE = 2000
    }
}
