package io.mobilemod.core.harness

import io.mobilemod.core.DecodedImage
import io.mobilemod.core.PreprocessSpec
import java.io.File

/**
 * A model file and how it is to run: what a device loads. [shape] is the network's input, (1, 3, S, S)
 * or (1, S, S, 3), for files that don't say it themselves. [cache]: a folder of this file's own where the runtime may keep what
 * it makes of it for the next load; null: every load is a first one, which is what a measurement wants. [givesClasses]: its output
 * is a map, uint8.
 */
class LoadRequest(
    val model: File,
    val target: String,
    val threads: Int,
    val delegate: String,
    val shape: LongArray,
    val cache: File? = null,
    val givesClasses: Boolean = false,
)

/** This device has nothing that a configuration could run on; the message says what lacks. */
class UnavailableException(
    message: String,
    cause: Throwable? = null,
) : Exception(message, cause)

/** A loaded model. */
interface Engine : AutoCloseable {
    /** What runs it, for people. */
    val runtime: String

    /** Subgraphs that a delegate took, null where the runtime doesn't say. */
    val partitions: Int?

    /** Ops left to the CPU, null where the runtime doesn't say. */
    val fallback: Int?

    /** Whether all of it runs on what was asked for, null where the runtime doesn't say. */
    val accelerated: Boolean? get() = null

    /** How the file takes its input, whatever the manifest says of the network. */
    val layout: PreprocessSpec.Layout

    /** The network's input to its logits; the result isn't touched by later calls. */
    fun run(input: FloatArray): FloatArray
}

/** The device that a job runs on: what the runner needs of the platform. */
interface Device {
    /** `hello`'s `device`, `app` and `runtimes`; what isn't known is null. */
    fun facts(): Map<String, Any?>

    /** `state`'s members: `thermal`, `temperature_c`, `battery`, `memory_bytes`, `frequencies_hz`. */
    fun state(): Map<String, Any?>

    /**
     * Loads a model afresh; any exception's message becomes an `error` line, that of an
     * [UnavailableException] an `unavailable` one.
     */
    fun open(request: LoadRequest): Engine

    /** How near the device is to slowing down for heat: 1 is where it does; null where it doesn't say. */
    fun headroom(): Double? = null

    /** Decodes an image file, orientation read and not applied; throws where it can't. */
    fun decode(image: File): DecodedImage

    /** Monotonic nanoseconds. */
    fun nanos(): Long

    /** The time of day as ISO 8601, for people only. */
    fun wall(): String
}
