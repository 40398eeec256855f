package io.mobilemod.app

import android.app.Activity
import android.content.Context
import android.view.View
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.Spinner
import io.mobilemod.core.Manifest
import io.mobilemod.core.ModelFile

/** Which file runs, and how. */
data class Choice(
    val file: ModelFile,
    val threads: Int,
    val delegate: String,
)

/** Calls [selected] for every selection of [spinner] that differs from the last. */
fun onSelection(
    spinner: Spinner,
    selected: (Int) -> Unit,
) {
    spinner.onItemSelectedListener =
        object : AdapterView.OnItemSelectedListener {
            private var last = spinner.selectedItemPosition

            override fun onItemSelected(
                parent: AdapterView<*>?,
                view: View?,
                position: Int,
                id: Long,
            ) {
                if (position == last) return
                last = position
                selected(position)
            }

            override fun onNothingSelected(parent: AdapterView<*>?) = Unit
        }
}

/** Puts [items] into [spinner] and selects the one at [position]. */
fun fill(
    spinner: Spinner,
    items: List<String>,
    position: Int,
) {
    val adapter = ArrayAdapter(spinner.context, android.R.layout.simple_spinner_item, items)
    adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item)
    spinner.adapter = adapter
    spinner.setSelection(position.coerceIn(items.indices))
}

/**
 * The spinners of `controls.xml` over a bundle's files. What was chosen is remembered, for every screen;
 * [changed] is told each new choice once.
 */
class Controls(
    activity: Activity,
    manifest: Manifest,
    private val changed: (Choice) -> Unit,
) {
    private val saved = activity.getSharedPreferences("choice", Context.MODE_PRIVATE)
    private val files = manifest.runnable(Engines.TARGETS)
    private val threadCounts = generateSequence(1) { it * 2 }.takeWhile { it <= cores() }.toList()
    private val file = activity.findViewById<Spinner>(R.id.file)
    private val threads = activity.findViewById<Spinner>(R.id.threads)
    private val delegate = activity.findViewById<Spinner>(R.id.delegate)
    private var told: Choice

    init {
        require(files.isNotEmpty()) { "the bundle has no .tflite and no .pte file" }
        Engines.prepare(activity)
        told = restore()
        onSelection(file) {
            fillDelegates()
            tell()
        }
        onSelection(threads) { tell() }
        onSelection(delegate) { tell() }
    }

    /** What is chosen. */
    val choice: Choice
        get() {
            val chosen = files[file.selectedItemPosition]
            val delegates = Engines.delegates(chosen.target)
            return Choice(
                chosen,
                threadCounts[threads.selectedItemPosition],
                delegates[delegate.selectedItemPosition.coerceIn(delegates.indices)],
            )
        }

    /** Shows what was chosen last, on whichever screen; [changed] isn't told. */
    fun restore(): Choice {
        fill(file, files.map { "${it.file} (${it.precision})" }, files.indexOfFirst { it.file == saved.getString(FILE, null) })
        fill(threads, threadCounts.map { it.toString() }, threadCounts.indexOf(saved.getInt(THREADS, 1)))
        fillDelegates()
        told = choice
        return told
    }

    /** Whether the user may choose. */
    fun enable(enabled: Boolean) = listOf(file, threads, delegate).forEach { it.isEnabled = enabled }

    private fun fillDelegates() {
        val delegates = Engines.delegates(files[file.selectedItemPosition].target)
        fill(delegate, delegates, delegates.indexOf(saved.getString(DELEGATE, null)))
    }

    // One selection may move another spinner, which calls back later.
    private fun tell() {
        val now = choice
        if (now == told) return
        told = now
        saved
            .edit()
            .putString(FILE, now.file.file)
            .putInt(THREADS, now.threads)
            .putString(DELEGATE, now.delegate)
            .apply()
        changed(now)
    }

    private companion object {
        const val FILE = "file"
        const val THREADS = "threads"
        const val DELEGATE = "delegate"

        fun cores(): Int = Runtime.getRuntime().availableProcessors()
    }
}
