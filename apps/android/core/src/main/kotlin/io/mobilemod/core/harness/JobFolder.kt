package io.mobilemod.core.harness

import java.io.File

/** Finds the folder of a job that a phone is told to run. */
object JobFolder {
    /**
     * The folder that [asked] names, absolute or relative to [base]: one directly below one of
     * [roots], named by a job's id. Throws [JobException] for any other, links out of them included.
     */
    fun resolve(
        asked: String,
        base: File,
        roots: List<File>,
    ): File {
        val folder = File(asked).let { if (it.isAbsolute) it else File(base, asked) }.canonicalFile
        if (roots.none { it.canonicalFile == folder.parentFile }) {
            throw JobException("the job's folder '${asked.take(80)}' is outside ${roots.joinToString(" and ")}")
        }
        if (!isJobId(folder.name)) throw JobException("the job's folder '${asked.take(80)}' isn't named by a job's id")
        return folder
    }

    /** The job in [folder]; null, and a fatal `error` line of the job that the folder is named by, where it can't be read. */
    fun read(
        folder: File,
        sink: LineSink,
        device: Device,
    ): Job? =
        try {
            val job = Job.read(folder)
            if (job.id != folder.name) throw JobException("${Job.FILE} is of another job than its folder")
            job
        } catch (error: JobException) {
            Stream(sink, folder.name.take(SHORT), newRun(), device::nanos).error("job", error.message!!, fatal = true)
            null
        }

    private const val SHORT = 16
}
