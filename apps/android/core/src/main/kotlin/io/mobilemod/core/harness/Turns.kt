package io.mobilemod.core.harness

import io.mobilemod.core.WarmUp

/** A loaded configuration that is timed on [input]. */
class Timed(
    val configuration: Configuration,
    val engine: Engine,
    private val input: FloatArray,
) {
    /** One inference. */
    fun run() {
        engine.run(input)
    }
}

/** A phase of timing: [isOver] is asked with each one's milliseconds and the phase's seconds so far. */
class Phase private constructor(
    val name: String,
    val isOver: (List<List<Double>>, Double) -> Boolean,
) {
    companion object {
        fun warmUp(plan: LatencyPlan) =
            Phase("warm-up") { ms, seconds -> seconds >= plan.warmUpSeconds && ms.all { WarmUp.isOver(it, plan.warmUpMax) } }

        fun steady(plan: LatencyPlan) = Phase("steady") { ms, seconds -> seconds >= plan.minSeconds && ms.all { it.size >= plan.minRuns } }

        fun sustained(length: Double) = Phase("sustained") { _, seconds -> seconds >= length }
    }
}

/**
 * Times a phase in turns: one inference of each, the one to begin alternating. Of one that fails, the
 * values are written, then [failed] is told.
 */
class Turns(
    private val phase: Phase,
    private val out: Stream,
    private val nanos: () -> Long,
    private val stopped: () -> Boolean,
    private val failed: (Configuration, Throwable) -> Unit,
) {
    /** Until the phase is over or all of [going] have failed; those leave it. [pause] gets the rounds so far. */
    fun run(
        going: MutableList<Timed>,
        pause: (Int) -> Unit,
    ) {
        val times = going.associateWith { out.Times(it.configuration.index, phase.name) }
        val start = nanos()
        var round = 0
        while (going.isNotEmpty() && !stopped() && !phase.isOver(going.map { times.getValue(it).ms }, (nanos() - start) / NANOS_PER_S)) {
            for (one in if (round % 2 == 0) going.toList() else going.asReversed().toList()) {
                val own = times.getValue(one)
                attempt({ measure(one, own) }) {
                    own.flush()
                    going.remove(one)
                    failed(one.configuration, it)
                }
            }
            round++
            if (going.any { times.getValue(it).isDue }) going.forEach { times.getValue(it).flush() }
            pause(round)
        }
        going.forEach { times.getValue(it).flush() }
    }

    private fun measure(
        one: Timed,
        times: Stream.Times,
    ) {
        val began = nanos()
        one.run()
        times.add(began, (nanos() - began) / NANOS_PER_MS)
    }

    private companion object {
        const val NANOS_PER_MS = 1e6
        const val NANOS_PER_S = 1e9
    }
}

/** What [body] gives; null where the model or its runtime fails, which [failed] is told. */
internal fun <T> attempt(
    body: () -> T,
    failed: (Throwable) -> Unit,
): T? =
    try {
        body()
    } catch (error: SinkException) {
        throw error
    } catch (error: Exception) {
        failed(error)
        null
    } catch (error: LinkageError) {
        failed(error)
        null
    } catch (error: OutOfMemoryError) {
        failed(error)
        null
    }
