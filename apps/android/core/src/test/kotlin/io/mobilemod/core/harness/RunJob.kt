package io.mobilemod.core.harness

import io.mobilemod.core.PreprocessSpec
import io.mobilemod.core.TestDevice
import io.mobilemod.core.TfliteFile
import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File

/**
 * Runs a job folder on the JVM: `RunJobKt FOLDER STREAM [COMMAND…]`. With a command, the model runs in
 * that process, which gets the model's path and the delegate as last arguments and then, big-endian
 * over its standard streams: a count and so many float32 in, a count and so many float32 out. Without
 * one, the tests' linear engine stands in.
 */
fun main(arguments: Array<String>) {
    val folder = File(arguments[0])
    val stream = File(arguments[1])
    val command = arguments.drop(2)
    val device =
        if (command.isEmpty()) {
            TestDevice()
        } else {
            TestDevice(engine = {
                file,
                delegate,
                ->
                ProcessEngine(command + file.path + delegate, layoutOf(file))
            })
        }
    val job = Job.read(folder)
    val progress = Progress.read(job, folder, stream)
    val done = LineFile(stream).use { Runner(job, folder, device, it, progress).run() }
    println(if (done) "done" else "not done")
}

/** How [file] takes its input. */
fun layoutOf(file: File) = if (file.extension == "tflite") TfliteFile.layout(file) else PreprocessSpec.Layout.NCHW

/** A model in another process. */
class ProcessEngine(
    command: List<String>,
    override val layout: PreprocessSpec.Layout,
) : Engine {
    override val runtime = "another process"
    override val partitions: Int? = null
    override val fallback: Int? = null
    private val process = ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start()
    private val out = DataOutputStream(process.outputStream.buffered(1 shl 16))
    private val answers = DataInputStream(process.inputStream.buffered(1 shl 16))

    override fun run(input: FloatArray): FloatArray {
        out.writeInt(input.size)
        for (value in input) out.writeFloat(value)
        out.flush()
        return FloatArray(answers.readInt()) { answers.readFloat() }
    }

    override fun close() {
        out.close()
        process.waitFor()
    }
}
