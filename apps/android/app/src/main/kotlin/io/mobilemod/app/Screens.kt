package io.mobilemod.app

import android.app.Activity
import android.content.ClipData
import android.content.Intent
import android.graphics.Bitmap
import android.os.Parcelable
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.view.WindowManager
import android.widget.ImageView
import android.widget.TextView
import androidx.core.content.FileProvider
import java.io.File

/** Title and way back of `header.xml`. */
fun Activity.bindHeader(title: Int) {
    findViewById<TextView>(R.id.title).setText(title)
    findViewById<View>(R.id.up).setOnClickListener { onNavigateUp() }
}

/** Offers [file] and [more], of the folders of `file_paths.xml`, to other apps. */
fun Activity.share(
    file: File,
    vararg more: File,
) {
    val uris = listOf(file, *more).map { FileProvider.getUriForFile(this, "$packageName.files", it) }
    val send = Intent(if (more.isEmpty()) Intent.ACTION_SEND else Intent.ACTION_SEND_MULTIPLE)
    send.type = "application/json"
    if (more.isEmpty()) {
        send.putExtra(Intent.EXTRA_STREAM, uris.first())
    } else {
        send.putParcelableArrayListExtra(Intent.EXTRA_STREAM, ArrayList<Parcelable>(uris))
    }
    send.clipData = ClipData.newRawUri(file.name, uris.first())
    uris.drop(1).forEach { send.clipData?.addItem(ClipData.Item(it)) }
    send.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION)
    startActivity(Intent.createChooser(send, getString(R.string.share)))
}

/** Whether the screen stays on, as while something is measured. */
fun Activity.keepScreenOn(on: Boolean) {
    val flag = WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON
    if (on) window?.addFlags(flag) else window?.clearFlags(flag)
}

/** A line of text in [parent], behind a [picture] where there is one. [colour]: of the text, a resource; 0: the theme's. */
fun Activity.addRow(
    parent: ViewGroup,
    text: String,
    colour: Int = 0,
    picture: Bitmap? = null,
) {
    val row = LayoutInflater.from(this).inflate(R.layout.picture_row, parent, false)
    val view = row.findViewById<TextView>(R.id.text)
    view.text = text
    if (colour != 0) view.setTextColor(getColor(colour))
    row.findViewById<ImageView>(R.id.thumbnail).run {
        clipToOutline = true
        setImageBitmap(picture)
        visibility = if (picture == null) View.GONE else View.VISIBLE
    }
    parent.addView(row)
}

/** A heading in [parent]. */
fun Activity.addHeading(
    parent: ViewGroup,
    text: String,
) {
    val view = TextView(this, null, 0, R.style.Title)
    view.text = text
    parent.addView(view)
}
